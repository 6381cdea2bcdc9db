// Texts: money, times, phones and badges. Pure.

const inKenya = (options) => {
  const format = new Intl.DateTimeFormat("en-GB", { timeZone: "Africa/Nairobi", ...options });
  return (moment) => format.format(typeof moment === "string" ? new Date(moment) : moment);
};
export const toSecond = inKenya({ hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
export const toMinute = inKenya({ hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
export const toDay = inKenya({ weekday: "long", day: "numeric", month: "long" });

const shillings = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
export const inShillings = (amount) => shillings.format(amount);
export const money = (prompt) => `KES\u00a0${inShillings(prompt.amount)}`;

export const local = (phone) => String(phone).replace(/^254(\d{3})(\d{3})(\d{3})$/, "0$1 $2 $3");
export const idOf = (prompt) => prompt.checkout_request_id;
export const counted = (number, one, many) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
export const clockFace = (seconds) => `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;

// A badge is { text, grade }. Grades are good, wait, bad, alarm and plain.

export function outcomeBadge(prompt, place) {
  if (prompt.open) return { text: place, grade: "wait" };
  return { text: prompt.answer, grade: prompt.paid ? "good" : "bad" };
}

export function callbackBadge({ state, times, next_at, trouble }) {
  const again = next_at ? `, again at ${toSecond(next_at)}` : "";
  const often = times > 1 ? `, ${times} times` : "";
  const badges = {
    open: null,
    due: { text: next_at ? `callback: at ${toSecond(next_at)}` : "callback: to come", grade: "plain" },
    sent: { text: "callback: on its way", grade: "plain" },
    delivered: { text: `callback: delivered${often}`, grade: "good" },
    failed: { text: `callback: ${trouble?.badge}${often}${again}`, grade: "alarm" },
    none: { text: "callback: none in this scenario", grade: "plain" },
    forgotten: { text: "callback: no longer known", grade: "plain" },
  };
  return badges[state];
}

export function resultOf(prompt) {
  if (prompt.paid) return `paid, receipt ${prompt.receipt_number}`;
  return `${prompt.answer}, ${prompt.result_code} ${prompt.result_desc}`;
}
