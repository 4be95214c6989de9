// Unpacking, the theme button, and the charts: the packed library draws the packed specs into their figures.
"use strict";

async function unpack(id) {
  const text = document.getElementById(id).textContent.trim();
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

function element(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

// every colour is a CSS variable by color-scheme: nothing is drawn anew
function startTheme() {
  const button = document.getElementById("theme");
  const themes = { system: "light dark", light: "light", dark: "dark" };
  button.addEventListener("click", () => {
    const names = Object.keys(themes);
    const label = button.querySelector("span");
    const next = names[(names.indexOf(label.textContent) + 1) % names.length];
    label.textContent = next;
    document.documentElement.style.colorScheme = themes[next];
  });
}

// as wide as its figure; small charts beside each other share the width
function sized({ spec: drawn, columns, margin }, width) {
  const legend = { ...drawn.config.legend, columns: Math.max(1, Math.floor((width - margin) / 112)) };
  const spec = { ...drawn, config: { ...drawn.config, legend } };
  if (!columns) return { ...spec, width: "container" };
  const each = Math.max(60, Math.floor(width / columns) - margin);
  return spec.spec ? { ...spec, spec: { ...spec.spec, width: each } } : { ...spec, width: each };
}

async function draw(box, plot) {
  const width = Math.floor(box.clientWidth);
  if (!width || Number(box.dataset.width) === width) return;
  box.dataset.width = width;
  const options = { actions: false, renderer: "svg", ast: true };
  const { view } = await window.vegaEmbed(box, sized(plot, width), options);
  // a click on a bar shows its traces
  view.addEventListener("click", (event, item) => {
    if (item?.datum?.series && item.datum.outcome) {
      const detail = { right: item.datum.series, outcome: item.datum.outcome };
      document.dispatchEvent(new CustomEvent("show-traces", { detail }));
    }
  });
}

async function startCharts() {
  const [library, plots] = await Promise.all([unpack("packed-library"), unpack("packed-plots").then(JSON.parse)]);
  document.head.append(element("script", "", library));
  const observer = new ResizeObserver((entries) => {
    for (const { target } of entries) draw(target, plots[target.dataset.plot]);
  });
  for (const box of document.querySelectorAll(".chart")) observer.observe(box);
}
