// JSON with line breaks and colours, or as it was sent.

import { by, make } from "./dom.js";

export function bodyOf(label, text) {
  const box = make("pre", "");
  box.rawText = text;
  show(box);
  return make("div", "body", make("div", "label", label), box);
}

function show(box) {
  if (by("raw").checked) box.textContent = box.rawText;
  else box.replaceChildren(...pretty(box.rawText));
}

export function startJson() {
  by("raw").addEventListener("change", () => {
    for (const box of document.querySelectorAll(".body pre")) show(box);
  });
}

// Only the space between the tokens is changed, so that 100.00 stays 100.00 and double names stay.
function pretty(text) {
  try {
    JSON.parse(text);
  } catch {
    return [text];
  }
  const tokens = text.match(/"(?:[^"\\]|\\.)*"|[[\]{}:,]|[^\s[\]{}:,"]+/g) ?? [];
  const out = [];
  let depth = 0;
  const newLine = () => "\n" + "  ".repeat(depth);
  tokens.forEach((token, place) => {
    const opens = token === "{" || token === "[";
    const next = tokens[place + 1];
    if (opens) {
      const closesAtOnce = next === "}" || next === "]";
      depth += 1;
      out.push(token, closesAtOnce ? "" : newLine());
    } else if (token === "}" || token === "]") {
      const before = tokens[place - 1];
      depth -= 1;
      out.push(before === "{" || before === "[" ? "" : newLine(), token);
    } else if (token === ",") out.push(token, newLine());
    else if (token === ":") out.push(": ");
    else out.push(make("span", next === ":" ? "k" : token.startsWith('"') ? "s" : "n", token));
  });
  return out;
}
