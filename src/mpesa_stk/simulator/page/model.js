// The page's state: the last answers of the simulator, and the reader's choices. No element is touched here.

import { idOf } from "./text.js";

export const model = {
  state: null,            // the last answer of /_sim/state
  list: null,             // the last answer of /_sim/prompts
  names: null,            // the answer of /_sim/names
  ahead: 0,               // milliseconds from performance.now() to the simulator's time
  connected: false,
  aside: new Set(),       // open prompts that were left unanswered
  picked: null,           // the open prompt that the reader put on the phone
  reading: null,          // the payment that the reader picked; null follows the phone
  everything: false,      // whether the story is about all requests
};

// What a part of the page asks of the whole page. `main.js` fills it in.
export const page = { refresh: null, redraw: null, tell: null };

export const now = () => performance.now() + model.ahead;
export const waiting = () => (model.state ? model.state.prompts.filter((prompt) => prompt.open) : []);
export const queue = () => waiting().filter((prompt) => !model.aside.has(idOf(prompt)));
export const secondsLeft = (prompt) => Math.max(0, Math.ceil((Date.parse(prompt.ends) - now()) / 1000));

// The prompt on the phone: the one that the reader picked, or else the oldest.
export function onPhone() {
  const open = queue();
  return open.find((prompt) => idOf(prompt) === model.picked) ?? open[0] ?? null;
}

// Ended prompts, the last ended first.
export function ended() {
  const over = model.state.prompts.filter((prompt) => !prompt.open).reverse();
  return over.sort((one, other) => Date.parse(other.ends) - Date.parse(one.ends));
}

// The payment that the story is about: picked by the reader, on the phone, or the last one that ended.
export function subject() {
  if (!model.state) return null;
  const followed = onPhone() ?? ended()[0] ?? waiting()[0] ?? null;
  return model.reading ?? (followed && idOf(followed));
}

export const showsEverything = () => model.everything || subject() === null;

// Put an open payment on the phone, or read about another one.
export function choose(id) {
  const isWaiting = queue().some((prompt) => idOf(prompt) === id);
  model.picked = isWaiting ? id : model.picked;
  model.reading = isWaiting ? null : id;
  model.everything = false;
}

export function accept(state, list) {
  model.ahead = Date.parse(state.now) - performance.now();
  model.state = state;
  model.list = list;
  const open = new Set(waiting().map(idOf));
  for (const id of model.aside) if (!open.has(id)) model.aside.delete(id);
  if (!open.has(model.picked)) model.picked = null;
}
