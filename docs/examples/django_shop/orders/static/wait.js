// Gets the page again every two seconds while the order waits, and puts its new state in place of the old one.
// Without JavaScript the page reloads itself every five seconds.
const PARTS = ["state", "next"];

async function look() {
  try {
    const answer = await fetch(location.href, { cache: "no-store" });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (answer.ok) PARTS.forEach((id) => renew(document.getElementById(id), page.getElementById(id)));
    document.title = page.title || document.title;
  } catch {
    // The network is away. The next look may succeed.
  }
  wait();
}

// Screen readers read the state aloud when it changes, so it is only touched if it did.
function renew(old, fresh) {
  old.dataset.waits = fresh.dataset.waits;
  old.className = fresh.className;
  if (old.textContent.trim() !== fresh.textContent.trim()) {
    old.replaceChildren(...fresh.childNodes);
    document.getElementById("problem")?.remove();
  }
}

function wait() {
  if (document.getElementById("state").dataset.waits === "yes") setTimeout(look, 2000);
}

// A second click posts nothing. The shop would send no second prompt for it, either.
let posted = false;
document.addEventListener("submit", (event) => {
  if (posted) event.preventDefault();
  posted = true;
});
addEventListener("pageshow", () => (posted = false));

wait();
