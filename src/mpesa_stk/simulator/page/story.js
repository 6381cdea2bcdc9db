// What happened: one payment step by step, with the trouble of its callback and what to do about it.

import { by, isWide, make, pill, put, turnTo } from "./dom.js";
import { bodyOf } from "./json.js";
import { model, page, showsEverything, subject } from "./model.js";
import { placeOf } from "./payments.js";
import { ask, pathOf } from "./server.js";
import { callbackBadge, idOf, local, money, outcomeBadge, toSecond } from "./text.js";

const NAMES = {
  token: "Token request", push: "Push request", query: "Status query", pull: "Pull of transactions",
  other: "Other request", prompt: "Prompt on the phone", answer: "Answer on the phone",
  callback: "Callback to your application",
};
const MOST_ENTRIES = 200;
const LATE = 100; // milliseconds
const STILL_OPEN = "the prompt is still open"; // the simulator's note on a usual answer that looks like an error

let told = null;         // whom the steps are about
let entries = new Map(); // key of an entry -> its list item

export function forgetStory() {
  told = null;
}

export async function tellStory() {
  const everything = showsEverything();
  const id = everything ? null : subject();
  let story;
  try {
    story = everything
      ? { timeline: (await ask(`/_sim/log?after=${Math.max(0, model.state.last - MOST_ENTRIES)}`)).entries }
      : await ask(pathOf(id));
  } catch (error) {
    showFault(error.message);
    return;
  }
  if (everything !== showsEverything() || (!everything && id !== subject())) return; // another one was picked meanwhile
  by("story-loading").hidden = by("story-fault").hidden = true;
  by("story-body").hidden = false;
  drawHead(everything);
  drawSummary(everything, story);
  drawCallout(story);
  drawMessages(story.messages);
  drawSteps(id, story);
}

function showFault(text) {
  by("story-loading").hidden = true;
  by("story-body").hidden = true;
  by("story-fault").hidden = false;
  put(by("story-fault-words"), `The payment cannot be shown. ${text}`);
}

function drawHead(everything) {
  by("this-payment").setAttribute("aria-pressed", String(!everything));
  by("everything").setAttribute("aria-pressed", String(everything));
  by("this-payment").disabled = subject() === null;
  put(by("steps-title"), everything ? "Newest first" : "Step by step");
  by("following").hidden = everything || model.reading === null;
}

function drawSummary(everything, { prompt, timeline }) {
  const key = JSON.stringify([everything, prompt, prompt && placeOf(prompt), timeline.length > 0]);
  if (by("summary").dataset.key === key) return;
  by("summary").dataset.key = key;
  by("summary").replaceChildren(...(everything ? aboutAll(timeline) : aboutOne(prompt)));
  by("facts").replaceChildren(...(everything ? [] : factsOf(prompt)));
}

function aboutAll(timeline) {
  const text = timeline.length
    ? `The newest ${MOST_ENTRIES} requests and callbacks, also those that opened no prompt.`
    : "The requests of your application and the simulator's answers appear here.";
  return [make("p", "soft", text)];
}

function aboutOne(prompt) {
  const badges = [outcomeBadge(prompt, placeOf(prompt)), callbackBadge(prompt.callback)].filter(Boolean);
  return [make("p", "subject", make("b", "", `${money(prompt)} · ${prompt.reference}`), make("span", "badges", ...badges.map(pill)))];
}

function factsOf(prompt) {
  const facts = [
    ["Phone", local(prompt.phone_number)],
    ["Result", prompt.open ? null : `${prompt.result_code} ${prompt.result_desc}`],
    ["Receipt", prompt.receipt_number],
    ["CheckoutRequestID", idOf(prompt)],
    ["Callback URL", prompt.callback_url],
  ];
  return facts.filter(([, value]) => value).flatMap(([name, value]) => [make("dt", "", name), make("dd", "", value)]);
}

function drawCallout({ prompt, advice }) {
  const trouble = prompt?.callback.trouble;
  by("callout").hidden = !trouble;
  if (!trouble) return;
  put(by("callout-title"), `Callback failed: ${trouble.badge}`);
  put(by("callout-reason"), trouble.reason);
  const key = advice.join("\n");
  if (by("callout-advice").dataset.key === key) return;
  by("callout-advice").dataset.key = key;
  by("callout-advice").replaceChildren(...advice.map((sentence) => make("li", "", sentence)));
}

function drawMessages(messages) {
  by("tell").hidden = !messages;
  put(by("tell-en"), messages?.en ?? "");
  put(by("tell-sw"), messages?.sw ?? "");
}

function drawSteps(id, { prompt, timeline }) {
  const isOther = told !== id || !(timeline.length && entries.has(keyOf(timeline[0])));
  if (isOther) {
    entries = new Map();
    by("timeline").replaceChildren();
    by("story-scroll").scrollTop = 0;
  }
  told = id;
  const opened = timeline.findIndex((entry) => entry.kind === "push");
  if (prompt && opened >= 0) timeline.splice(opened + 1, 0, appearance(prompt));
  const kept = new Set(timeline.map(keyOf));
  for (const [key, item] of entries) {
    if (kept.has(key)) continue;
    item.remove();
    entries.delete(key);
  }
  let previous = timeline.length ? Date.parse(timeline[0].at) : 0;
  for (const entry of timeline) {
    if (!entries.has(keyOf(entry))) {
      const item = itemOf(entry, Date.parse(entry.at) - previous, id);
      entries.set(keyOf(entry), item);
      if (id === null) by("timeline").prepend(item);
      else by("timeline").append(item);
    }
    previous = Date.parse(entry.at);
  }
}

const keyOf = (entry) => `${entry.number} ${entry.at}`;

// The journal has the requests. That the phone rang is a fact of the prompt.
function appearance(prompt) {
  const note = `${local(prompt.phone_number)}: ${money(prompt)}, account ${prompt.reference}`;
  return { number: "prompt", at: prompt.opened, kind: "prompt", asked: "", status: null, answered: "", note };
}

function itemOf(entry, gap, id) {
  const grade = gradeOf(entry);
  const title = make("summary", "title",
    make("span", "name", NAMES[entry.kind] ?? entry.kind),
    make("span", "small soft number", toSecond(entry.at) + (gap >= LATE ? ` (+${(gap / 1000).toFixed(1)} s)` : "")));
  if (entry.status !== null) title.append(pill({ text: `HTTP ${entry.status}`, grade }));
  else if (entry.kind === "callback") title.append(pill({ text: "not delivered", grade }));
  const note = [entry.note, id === null ? about(entry.checkout_request_id) : ""].filter(Boolean).join(" · ");
  if (note) title.append(make("span", "note", note));
  for (const advice of entry.advice ?? []) title.append(make("span", "note advice", `Advice: ${advice}`));
  if (!entry.asked && !entry.answered) {
    const plain = make("div", "title plain");
    plain.append(...title.childNodes);
    return make("li", grade, plain);
  }
  const details = make("details", "", title);
  details.open = entry.kind === "callback" && id !== null && grade === "good";
  const isCallback = entry.kind === "callback";
  if (entry.asked) details.append(bodyOf(isCallback ? "sent to your application" : "your application asked", entry.asked));
  if (entry.answered) details.append(bodyOf(isCallback ? "your application answered" : "the simulator answered", entry.answered));
  return make("li", grade, details);
}

function about(id) {
  const prompt = model.state.prompts.find((one) => idOf(one) === id);
  return prompt ? `${prompt.reference}, ${local(prompt.phone_number)}` : id ?? "";
}

function gradeOf(entry) {
  if (entry.kind === "answer") return entry.note === "paid" ? "good" : "bad";
  if (entry.kind === "prompt" || entry.note.startsWith(STILL_OPEN)) return "wait";
  return entry.status >= 200 && entry.status < 300 ? "good" : "bad";
}

// --- the notices above all parts: the last callback failed, the last push was refused ------------------

let troubled = null; // the payment whose callback failed

export function drawTrouble() {
  const tried = model.state.prompts.filter((prompt) => prompt.callbacks.length);
  const lastTry = (prompt) => Date.parse(prompt.callbacks.at(-1).at);
  const last = tried.reduce((one, other) => (one && lastTry(one) > lastTry(other) ? one : other), null);
  const trouble = last?.callback.trouble;
  troubled = trouble ? idOf(last) : null;
  const isSeen = isWide() && !showsEverything() && subject() === troubled;
  by("trouble").hidden = !trouble || isSeen || model.state.outage.on;
  put(by("trouble-badge"), trouble ? `The last callback failed: ${trouble.badge}.` : "");
  put(by("trouble-reason"), trouble?.reason ?? "");
}

export function drawRefusal() {
  const { refusal } = model.state;
  by("refused").hidden = !refusal || (isWide() && showsEverything());
  const [title, words] = refusal ? refusalWords(refusal) : ["", ""];
  put(by("refused-title"), title);
  put(by("refused-words"), words);
}

export function refusalWords({ kind, status, message, note }) {
  const answer = [status === null ? "No answer" : `HTTP ${status}`, message].filter(Boolean).join(", ");
  const why = note.startsWith("fault: ") ? ` Simulated failure: ${note.slice("fault: ".length).split(",")[0]}.` : "";
  return [`The last ${NAMES[kind].toLowerCase()} opened no prompt.`, `${answer.replace(/\.$/, "")}.${why}`];
}

export function startStory() {
  by("this-payment").addEventListener("click", () => {
    model.everything = false;
    page.redraw();
  });
  by("everything").addEventListener("click", () => {
    model.everything = true;
    page.redraw();
  });
  by("follow").addEventListener("click", () => {
    model.reading = null;
    page.redraw();
    by("story-title").focus({ preventScroll: true });
  });
  by("try-again").addEventListener("click", () => page.refresh());
  by("refused-show").addEventListener("click", () => {
    model.everything = true;
    turnTo("story");
    page.redraw();
    by("story-title").focus({ preventScroll: true });
    if (!isWide()) by("story").scrollIntoView();
  });
  by("trouble-show").addEventListener("click", () => {
    model.reading = troubled;
    model.everything = false;
    turnTo("story");
    page.redraw();
    by("story-title").focus({ preventScroll: true });
    if (!isWide()) by("story").scrollIntoView();
  });
}
