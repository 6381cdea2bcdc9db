// The simulator's control interface: requests, and news of changes.

const FIRST_WAIT = 500;
const LONGEST_WAIT = 4000;

export async function ask(path, body) {
  const options = body === undefined ? { cache: "no-store" } : {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  };
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("The simulator does not answer.");
  }
  const facts = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(facts.error?.message ?? `The simulator answered ${answer.status}.`);
  return facts;
}

export const pathOf = (id) => `/_sim/prompts/${encodeURIComponent(id)}`;

// Connect, and connect again when the connection is lost.
export function listen({ connected, lost, changed }) {
  let wait = FIRST_WAIT;
  const connect = () => {
    const source = new EventSource("/_sim/events");
    source.addEventListener("open", () => {
      wait = FIRST_WAIT;
      connected();
    });
    source.addEventListener("changed", changed);
    source.addEventListener("error", () => {
      source.close();
      lost();
      setTimeout(connect, wait);
      wait = Math.min(wait * 2, LONGEST_WAIT);
    });
  };
  connect();
}
