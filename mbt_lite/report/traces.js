// The trace browser: filter and search the questions, show two variants of one side by side, in colour.
const PAGE = 20;
// the bits of marks.py
const FLAGS = { gold: 1, first: 2, repeated: 4, tag: 8 };
const PHASES = ["understand_filter", "plan", "execute_monitor", "self_correct", "verify"];
const NAMES = ["understand", "plan", "execute", "self-correct", "verify"];

function startTraces(data) {
  const form = document.getElementById("filter");
  const list = document.getElementById("questions");
  const count = document.getElementById("count");
  const more = document.getElementById("more");
  const fields = form.elements;
  let matching = [];
  let shown = 0;
  let wanted = {};

  data.questions.forEach((question) => (question.haystack = haystack(question)));
  addKinds(fields.kind, data.questions);

  function showMore() {
    const next = matching.slice(shown, shown + PAGE);
    const cards = next.map((question) => card(question, wanted));
    list.append(...cards);
    shown += next.length;
    more.hidden = shown >= matching.length;
    return cards;
  }

  function show() {
    wanted = { left: fields.left.value, right: fields.right.value, outcome: fields.outcome.value };
    wanted.kind = fields.kind.value;
    wanted.search = fields.search.value.trim().toLowerCase();
    form.querySelector(".right-name").textContent = wanted.right;
    for (const layer of ["phases", "golds", "repeats"]) list.classList.toggle(`no-${layer}`, !fields[layer].checked);
    matching = data.questions.filter((question) => fits(question, wanted));
    shown = 0;
    globalThis.CSS.highlights?.delete("found");
    list.replaceChildren();
    const [first] = showMore();
    if (first) first.open = true;
    else list.append(element("p", "no-data", "No question fits. Loosen the filter or the search."));
    count.textContent = `${matching.length} of ${data.questions.length} ${data.unit}`;
  }

  function move(step) {
    const cards = [...list.querySelectorAll("details")];
    const here = cards.findIndex((one) => one.contains(document.activeElement));
    if (here + step >= cards.length && !more.hidden) cards.push(...showMore());
    const target = cards[Math.min(Math.max(here + step, 0), cards.length - 1)];
    target?.querySelector("summary").focus();
    target?.scrollIntoView({ block: "nearest" });
  }

  const keys = { j: () => move(1), k: () => move(-1), "/": () => fields.search.focus() };
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input[type=search], select");
    if (typing || event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });
  document.addEventListener("show-traces", ({ detail }) => {
    fields.right.value = detail.right;
    fields.outcome.value = detail.outcome;
    show();
    document.getElementById("traces").scrollIntoView();
  });
  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => showMore()[0]?.querySelector("summary").focus());
  form.hidden = false;
  show();
}

function haystack(question) {
  const texts = Object.values(question.predictions).map(
    ({ answer, paragraphs }) => `${answer ?? ""}\n${paragraphs.map(plain).join("\n\n")}`,
  );
  return [question.id, question.question, ...question.golds, ...texts].join("\n").toLowerCase();
}

function plain({ pieces = [] }) {
  return pieces.filter((_, index) => index % 2 === 0).join("");
}

// datasets, hops and types, each only where the questions differ in it
function addKinds(select, questions) {
  for (const [key, title, name] of [
    ["dataset", "dataset", (value) => value],
    ["hops", "hops", (value) => `${value} hops`],
    ["type", "type", (value) => value],
  ]) {
    const values = [...new Set(questions.map((question) => question[key]))].filter((value) => value !== null).sort();
    if (values.length < 2) continue;
    const group = element("optgroup");
    group.label = title;
    for (const value of values) {
      const option = element("option", "", name(value));
      option.value = `${key}=${value}`;
      group.append(option);
    }
    select.append(group);
  }
  select.closest("label").hidden = select.options.length === 1;
}

function fits(question, { left, right, outcome, kind, search }) {
  const [one, other] = [question.predictions[right], question.predictions[left]];
  const isRight = (prediction) => prediction.outcome === "correct";
  if (kind) {
    const [key, value] = [kind.slice(0, kind.indexOf("=")), kind.slice(kind.indexOf("=") + 1)];
    if (String(question[key]) !== value) return false;
  }
  if (outcome && !one) return false;
  if (outcome === "degenerate" && !one.degenerate) return false;
  if (outcome === "gained" && !(other && isRight(one) && !isRight(other))) return false;
  if (outcome === "dropped" && !(other && !isRight(one) && isRight(other))) return false;
  if (!["", "degenerate", "gained", "dropped"].includes(outcome) && one.outcome !== outcome) return false;
  return question.haystack.includes(search);
}

function card(question, { left, right, search }) {
  const labels = [...new Set([left, right])];
  const details = element("details", "question");
  const summary = element("summary");
  const rollout = question.rollout ? ` (completion ${question.rollout + 1})` : "";
  const said = element("span", "asked", question.question + rollout);
  said.append(" ", element("span", "answer", `→ ${question.golds.join(" | ")}`));
  const chips = element("span", "chips");
  chips.append(...labels.map((label) => chip(label, question.predictions[label])));
  summary.append(said, chips);
  details.append(summary);
  // long traces cost time to lay out: only those that are opened do
  details.addEventListener("toggle", () => {
    // the event comes later: by then another search may have taken the card away
    if (!details.isConnected || !details.open || details.children.length > 1) return;
    const pair = element("div", "pair");
    pair.append(...labels.map((label) => column(label, question.predictions[label])));
    const hops = question.hops && `${question.hops} hops`;
    const kind = [question.id, question.dataset, hops, question.type].filter(Boolean).join(" · ");
    details.append(pair, element("p", "legend card-foot", kind));
    markFound(details, search);
  });
  return details;
}

function chip(label, prediction) {
  const outcome = prediction ? prediction.outcome : "not there";
  return element("span", `chip ${outcome.replaceAll(" ", "-")}`, `${label}: ${outcome}`);
}

function column(label, prediction) {
  const box = element("div");
  box.append(element("h4", "", label));
  if (!prediction) {
    box.append(element("p", "", "no completion of this variant"));
    return box;
  }
  const end = prediction.stopped ? "stopped by itself" : "cut off";
  const tokens = `${prediction.tokens.toLocaleString("en")} tokens`;
  const missing = prediction.trace ? "" : "no trace";
  const degenerate = prediction.degenerate ? "degenerate" : "";
  const facts = [prediction.outcome, tokens, end, missing, degenerate, `F1 ${prediction.f1.toFixed(2)}`];
  box.append(element("p", "legend", facts.filter(Boolean).join(" · ")));
  if (prediction.judged_phases) {
    const named = prediction.judged_phases.map((phase) => NAMES[phase]).join(", ");
    box.append(element("p", "legend", `phases by the judge: ${named || "none"}`));
  }
  box.append(element("p", "", prediction.answer === null ? "no answer" : `answer: ${prediction.answer}`));
  const trace = element("div", "trace");
  trace.tabIndex = 0;
  trace.setAttribute("role", "region");
  trace.setAttribute("aria-label", `what ${label} wrote`);
  trace.append(...prediction.paragraphs.map((one) => paragraph(one, prediction.judged)));
  box.append(trace);
  return box;
}

function paragraph({ number, pieces, phases, repeated, left_out: leftOut }, judged) {
  if (leftOut) {
    const said = `${leftOut.toLocaleString("en")} characters left out of this page; predictions.jsonl has them`;
    return element("p", "left-out", said);
  }
  const node = element("p", repeated ? "again-whole" : "");
  const tags = element("span", "tags");
  if (phases.length) {
    node.classList.add("phased");
    node.style.setProperty("--phase", `var(--${PHASES[phases[0]]})`);
  }
  for (const phase of phases) {
    const tag = element("span", "phase", NAMES[phase]);
    tag.style.setProperty("--phase", `var(--${PHASES[phase]})`);
    tags.append(tag);
  }
  if (repeated) tags.append(element("span", "repeated", "mostly said before"));
  if (number && judged?.first === number) tags.append(element("span", "judged", "judge: answer first derived here"));
  if (number && judged?.redundant.includes(number)) tags.append(element("span", "judged", "judge: redundant"));
  if (tags.children.length) node.append(tags);
  for (let index = 0; index < pieces.length; index += 2) node.append(piece(pieces[index], pieces[index + 1]));
  return node;
}

// the innermost node holds the text; each flag wraps it once
function piece(text, flag) {
  let node = document.createTextNode(text);
  const wrap = (tag, className) => {
    const outer = element(tag, className);
    outer.append(node);
    node = outer;
    return outer;
  };
  if (flag & FLAGS.tag) wrap("span", "tag");
  if (flag & FLAGS.repeated) wrap("span", "again");
  if (flag & FLAGS.gold) {
    const mark = wrap("mark", flag & FLAGS.first ? "first" : "");
    mark.title = flag & FLAGS.first ? "first mention of the gold in the trace" : "the gold";
  }
  return node;
}

// browsers without the highlight API still find the questions, they only do not mark the words
function markFound(root, search) {
  if (!search || !globalThis.Highlight) return;
  const found = CSS.highlights.get("found") ?? new Highlight();
  CSS.highlights.set("found", found);
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.toLowerCase();
    // some letters change their length with their case: then places do not fit
    if (text.length !== walker.currentNode.length) continue;
    for (let at = text.indexOf(search); at >= 0; at = text.indexOf(search, at + search.length)) {
      const range = new Range();
      range.setStart(walker.currentNode, at);
      range.setEnd(walker.currentNode, at + search.length);
      found.add(range);
    }
  }
}

async function start() {
  startTheme();
  try {
    startTraces(JSON.parse(await unpack("packed-traces")));
    await startCharts();
  } catch (error) {
    const said = `This browser cannot show all of the page (${error}). The files of the run have everything.`;
    document.querySelector("main").prepend(element("p", "notice", said));
    throw error;
  }
}
start();
