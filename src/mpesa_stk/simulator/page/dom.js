// Elements: find them, fill them, make them. Texts become text nodes, never markup.

export const by = (id) => document.getElementById(id);

export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function make(name, className, ...children) {
  const element = document.createElement(name);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

export function button(text, whenPressed) {
  const element = make("button", "", text);
  element.type = "button";
  element.addEventListener("click", whenPressed);
  return element;
}

export const pill = (badge) => make("span", `pill ${badge.grade}`, badge.text);

// Groups are { title, names: [{ name, words }] }. A group without a title has no heading.
export function offer(select, groups, textOf = ({ name, words }) => (words ? `${name}: ${words}` : name)) {
  const kept = select.value;
  select.replaceChildren(...groups.flatMap(({ title, names }) => {
    const options = names.map((entry) => new Option(textOf(entry), entry.name));
    if (!title) return options;
    const group = make("optgroup", "", ...options);
    group.label = title;
    return [group];
  }));
  if (kept && select.querySelector(`option[value="${CSS.escape(kept)}"]`)) select.value = kept;
}

export const NARROW = window.matchMedia("(max-width: 759px)");
export const isNarrow = () => NARROW.matches;
export const isWide = () => window.matchMedia("(min-width: 1120px)").matches;

// Show one part of a narrow page. A wide page shows all parts.
export function turnTo(part) {
  document.body.dataset.tab = part;
  for (const tab of document.querySelectorAll("#tabs button")) {
    if (tab.dataset.part === part) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
}
