"use strict";
// The page of a questionnaire: shows items, keeps answers in the browser's storage, and downloads them. No text of an
// item is ever markup: all of it goes through textContent.
const data = JSON.parse(document.getElementById("data").textContent);
const store = `lmsteer-${data.questionnaire}-${data.page}`;
const element = (id) => document.getElementById(id);
const items = new Map(data.items.map((item) => [item.id, item]));
const fresh = () => ({ rater: "", answers: {}, at: 0 });
let state = load();
let current = 0; // index of the question that keys answer
let since = performance.now();
let hiddenAt = null;

function load() {
  try {
    const stored = JSON.parse(localStorage.getItem(store));
    return stored && typeof stored.answers === "object" && stored.rater ? { ...fresh(), ...stored } : fresh();
  } catch {
    return fresh();
  }
}

function save() {
  try {
    localStorage.setItem(store, JSON.stringify(state));
  } catch {
    warn("This browser keeps nothing. Answers are lost when the page is closed: download them before.");
  }
}

function warn(text) {
  element("alert").textContent = text;
  element("alert").hidden = !text;
}

function show(section) {
  for (const name of ["start", "work", "end"]) element(name).hidden = name !== section;
}

const answersOf = (item) => state.answers[item.id] ?? {};
const isAnswered = (item) => data.questions.every((question) => question.name in answersOf(item));
const answered = () => data.items.filter(isAnswered).length;

function make(tag, text, attributes = {}) {
  const node = document.createElement(tag);
  node.textContent = text;
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

function showItem() {
  if (state.at >= data.items.length) return showEnd();
  const item = data.items[state.at];
  show("work");
  element("position").textContent = `Item ${state.at + 1} of ${data.items.length}, ${answered()} answered`;
  element("progress").value = answered() / data.items.length;
  element("prompt").textContent = item.prompt;
  element("texts").replaceChildren(...item.texts.map((text, index) => textCard(text, index, item.texts.length)));
  const open = data.questions.findIndex((question) => !(question.name in answersOf(item)));
  current = open < 0 ? 0 : open;
  showQuestions(item);
  since = performance.now();
  window.scrollTo(0, 0);
  element("prompt").focus({ preventScroll: true }); // where a screen reader goes on
}

function textCard(text, index, count) {
  const card = make("article", "", { class: "card" });
  card.append(make("h2", count > 1 ? `Continuation ${"AB"[index]}` : "Continuation"));
  const body = text.trim() ? { class: "text", dir: "auto", tabindex: "0" } : { class: "text quiet" };
  card.append(make("p", text.trim() ? text : "(empty)", body));
  return card;
}

function showQuestions(item) {
  const blocks = data.questions.map((question, number) => {
    const block = make("fieldset", "", { class: number === current ? "current" : "" });
    block.append(make("legend", question.text));
    const group = make("div", "", { class: "choices", role: "radiogroup", "aria-label": question.text });
    for (const choice of data.choices) {
      const chosen = answersOf(item)[question.name]?.choice === choice.name;
      const button = make("button", `${choice.label} `, { type: "button", role: "radio", "aria-checked": chosen });
      if (choice.key.toUpperCase() !== choice.label) {
        button.append(make("kbd", choice.key.toUpperCase(), { "aria-hidden": "true" }));
      }
      button.dataset.question = question.name;
      button.dataset.choice = choice.name;
      button.addEventListener("click", () => answer(number, choice.name));
      group.append(button);
    }
    block.append(group);
    return block;
  });
  element("questions").replaceChildren(...blocks);
}

function answer(number, choice) {
  const item = data.items[state.at];
  const question = data.questions[number].name;
  const now = performance.now();
  const before = answersOf(item)[question]?.seconds ?? 0;
  const seconds = Math.round(10 * (before + (now - since) / 1000)) / 10;
  since = now;
  state.answers[item.id] = { ...answersOf(item), [question]: { choice, seconds } };
  const open = data.questions.findIndex((other) => !(other.name in state.answers[item.id]));
  if (open < 0) {
    state.at += 1;
    save();
    return showItem();
  }
  current = open;
  save();
  showQuestions(item);
  element("questions").children[current].querySelector("button").focus();
}

function back() {
  if (state.at > 0) {
    state.at -= 1;
    save();
    showItem();
  }
}

function showEnd() {
  const left = data.items.length - answered();
  element("summary").textContent = left
    ? `${answered()} of ${data.items.length} items are answered, ${left} are left.`
    : `All ${data.items.length} items are answered. Thank you!`;
  show("end");
  element("json").focus();
}

function goOn() {
  const open = data.items.findIndex((item) => !isAnswered(item));
  state.at = open < 0 ? data.items.length - 1 : open;
  showItem();
}

function rows() {
  return data.items.flatMap((item) =>
    data.questions
      .filter((question) => question.name in answersOf(item))
      .map((question) => ({ item: item.id, question: question.name, ...answersOf(item)[question.name] })),
  );
}

function download(content, type, suffix) {
  const link = make("a", "");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  const name = state.rater.replace(/[^\p{L}\p{N}_-]+/gu, "-");
  link.download = `answers_${data.questionnaire}_${data.page}_${name}.${suffix}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function asJson() {
  const content = { format: "lmsteer-answers", questionnaire: data.questionnaire, rater: state.rater, answers: rows() };
  return `${JSON.stringify(content, null, 1)}\n`;
}

function asCsv() {
  // A name that a spreadsheet would take for a formula gets an apostrophe before it.
  const cell = (value) => `"${String(value).replace(/^(?=[=+\-@'])/, "'").replaceAll('"', '""')}"`;
  const lines = rows().map((row) =>
    [data.questionnaire, state.rater, row.item, row.question, row.choice, row.seconds].map(cell).join(","),
  );
  return `${["questionnaire,rater,item,question,choice,seconds", ...lines].join("\n")}\n`;
}

async function openFile(event) {
  const [file] = event.target.files;
  let content = null;
  try {
    content = JSON.parse(await file.text());
  } catch {
    return warn("This is no file of answers.");
  }
  if (content?.format === "lmsteer-key") return warn("This is the key: it says who wrote what, and is not opened here.");
  if (content?.format !== "lmsteer-answers") return warn("This is no file of answers.");
  if (content.questionnaire !== data.questionnaire) return warn("These are answers to another questionnaire.");
  const loaded = fresh();
  loaded.rater = String(content.rater);
  const names = data.questions.map((question) => question.name);
  const choices = data.choices.map((choice) => choice.name);
  for (const one of Array.isArray(content.answers) ? content.answers : []) {
    if (!items.has(one?.item) || !names.includes(one.question) || !choices.includes(one.choice)) continue;
    loaded.answers[one.item] ??= {};
    loaded.answers[one.item][one.question] = { choice: one.choice, seconds: Math.max(0, Number(one.seconds) || 0) };
  }
  state = loaded;
  warn("");
  save();
  goOn();
}

function begin() {
  const rater = element("rater").value.trim();
  if (!rater || !element("consent").checked) return warn("Give a name or number, and tick the box, to begin.");
  warn("");
  state.rater = rater;
  save();
  goOn();
}

document.addEventListener("keydown", (event) => {
  if (element("work").hidden || event.ctrlKey || event.metaKey || event.altKey) return;
  const choice = data.choices.find((one) => one.key === event.key.toLowerCase());
  if (choice) answer(current, choice.name);
  else if (event.key === "Backspace" || event.key === "ArrowLeft") back();
  else return;
  event.preventDefault();
});
document.addEventListener("visibilitychange", () => {
  // Time away from the page does not count.
  if (document.hidden) hiddenAt = performance.now();
  else if (hiddenAt !== null) since += performance.now() - hiddenAt;
});
element("begin").addEventListener("click", begin);
element("file").addEventListener("change", openFile);
element("back").addEventListener("click", back);
element("stop").addEventListener("click", showEnd);
element("resume").addEventListener("click", goOn);
element("json").addEventListener("click", () => download(asJson(), "application/json", "json"));
element("csv").addEventListener("click", () => download(asCsv(), "text/csv", "csv"));
if (state.rater) showItem();
else show("start");
