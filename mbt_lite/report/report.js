// The trace browser: unpack the traces, filter them, show two variants of a question side by side.
"use strict";
(async () => {
  const PAGE = 20;
  const form = document.getElementById("filter");
  const list = document.getElementById("questions");
  const count = document.getElementById("count");
  const more = document.getElementById("more");

  const element = (tag, className, text) => {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const slug = (outcome) => outcome.replaceAll(" ", "-");

  async function unpack() {
    const bytes = Uint8Array.from(atob(document.getElementById("packed").textContent.trim()), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).json();
  }

  let data;
  try {
    data = await unpack();
  } catch (error) {
    list.append(element("p", "notice", `This browser cannot unpack the traces (${error}); they are in eval/*/predictions.jsonl.`));
    return;
  }
  for (const question of data.questions) {
    const predictions = Object.values(question.predictions);
    const texts = predictions.map((prediction) => `${prediction.answer ?? ""}\n${prediction.segments.join("")}`);
    question.haystack = [question.id, question.question, ...question.golds, ...texts].join("\n").toLowerCase();
  }

  function fits(question, wanted) {
    const left = question.predictions[wanted.left];
    const right = question.predictions[wanted.right];
    const is = (prediction, outcome) => prediction !== undefined && prediction.outcome === outcome;
    if (wanted.outcome === "gained" && !(is(right, "correct") && left && !is(left, "correct"))) return false;
    if (wanted.outcome === "dropped" && !(is(left, "correct") && right && !is(right, "correct"))) return false;
    if (!["", "gained", "dropped"].includes(wanted.outcome) && !is(right, wanted.outcome)) return false;
    return question.haystack.includes(wanted.search);
  }

  function chip(variant, prediction) {
    const outcome = prediction ? prediction.outcome : "not there";
    return element("span", `chip ${slug(outcome)}`, `${variant}: ${outcome}`);
  }

  function marked(segments) {
    const pre = element("pre");
    pre.tabIndex = 0;
    segments.forEach((segment, index) => {
      if (index % 2 === 0) return pre.append(segment);
      const mark = element("mark", index === 1 ? "first" : "", segment);
      if (index === 1) mark.title = "first mention of the gold";
      pre.append(mark);
    });
    return pre;
  }

  function column(variant, prediction) {
    const box = element("div");
    box.append(element("h4", "", variant));
    if (!prediction) {
      box.append(element("p", "", "no prediction of this variant"));
      return box;
    }
    const end = prediction.stopped ? "stopped by itself" : "cut off";
    const facts = `${prediction.outcome} · ${prediction.tokens.toLocaleString("en")} tokens · ${end} · F1 ${prediction.f1.toFixed(2)}`;
    box.append(element("p", "legend", facts));
    box.append(element("p", "", prediction.answer === null ? "no answer" : `answer: ${prediction.answer}`));
    const pre = marked(prediction.segments);
    pre.setAttribute("aria-label", `what ${variant} wrote`);
    box.append(pre);
    return box;
  }

  function card(question, variants) {
    const details = element("details");
    const summary = element("summary", "", question.question);
    summary.append(" ", element("span", "gold", `→ ${question.golds.join(" | ")}`));
    const chips = element("span", "chips");
    chips.append(...variants.map((variant) => chip(variant, question.predictions[variant])));
    summary.append(chips);
    details.append(summary);
    // long traces cost time to lay out: only those that are opened do
    details.addEventListener("toggle", () => {
      if (!details.open || details.children.length > 1) return;
      const pair = element("div", "pair");
      pair.append(...variants.map((variant) => column(variant, question.predictions[variant])));
      const kind = [question.id, question.hops && `${question.hops} hops`, question.type].filter(Boolean).join(" · ");
      details.append(pair, element("p", "legend card-foot", kind));
    });
    return details;
  }

  let matching = [];
  let shown = 0;
  let variants = [];

  function showMore() {
    const next = matching.slice(shown, shown + PAGE);
    const cards = next.map((question) => card(question, variants));
    list.append(...cards);
    shown += next.length;
    more.hidden = shown >= matching.length;
    return cards;
  }

  function show() {
    const wanted = {
      left: form.elements.left.value,
      right: form.elements.right.value,
      outcome: form.elements.outcome.value,
      search: form.elements.search.value.trim().toLowerCase(),
    };
    variants = [...new Set([wanted.left, wanted.right])];
    form.querySelector(".right-name").textContent = wanted.right;
    matching = data.questions.filter((question) => fits(question, wanted));
    shown = 0;
    list.replaceChildren();
    const [first] = showMore();
    if (first) first.open = true;
    else list.append(element("p", "no-data", "no question fits"));
    count.textContent = `${matching.length} of ${data.questions.length} questions`;
  }

  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => {
    const [first] = showMore();
    if (first) first.querySelector("summary").focus();
  });
  form.hidden = false;
  show();
})();
