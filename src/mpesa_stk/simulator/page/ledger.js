// Safaricom's ledger, and payments without a prompt.

import { by, make, offer, put } from "./dom.js";
import { model, page } from "./model.js";
import { ask } from "./server.js";
import { inShillings, local, money, toSecond } from "./text.js";

const MOVES = { sweep: "sweep to the bank", fee: "fee", reversal: "reversal" };

export function drawLedger() {
  const { accounts, ledger } = model.state;
  if (by("account").options.length === 0) {
    offer(by("account"), [{ title: "", names: accounts.map((name) => ({ name })) }]);
    nameStatement();
  }
  const newest = ledger[0];
  by("rows").hidden = !newest;
  by("no-rows").hidden = Boolean(newest);
  const key = newest ? `${newest.number} ${newest.receipt_number}` : "";
  const box = by("entries");
  if (box.dataset.key === key) return; // a row never changes
  box.dataset.key = key;
  box.replaceChildren(...ledger.map((row) => entered(row, accounts.length > 1)));
}

function entered(row, severalAccounts) {
  const kind = MOVES[row.kind] ?? (row.checkout_request_id ? "paid prompt" : "paid without a prompt");
  const from = [row.phone_number && local(row.phone_number), row.reference, row.linked_to, severalAccounts && row.account];
  return make("tr", "",
    make("td", "number", toSecond(row.completed)),
    make("td", "whole", row.receipt_number),
    make("td", "", row.failed ? `${kind}: failed` : kind),
    make("td", "wide", from.filter(Boolean).join(" · ")),
    make("td", "money", inShillings(row.amount)),
    make("td", "money wide", inShillings(row.balance)));
}

function nameStatement() {
  by("statement").href = `/_sim/statement.csv?account=${encodeURIComponent(by("account").value)}`;
}

function tell(text, bad) {
  put(by("ledger-told"), text);
  by("ledger-told").classList.toggle("bad", bad);
}

export function startLedger() {
  by("account").addEventListener("change", nameStatement);
  by("by-hand").addEventListener("submit", async (event) => {
    event.preventDefault();
    const body = { account: by("account").value, amount: parseFloat(by("hand-amount").value) };
    if (by("hand-reference").value) body.reference = by("hand-reference").value;
    try {
      const { row } = await ask("/_sim/payments", body);
      tell(`${money(row)} paid, receipt ${row.receipt_number}.`, false);
    } catch (error) {
      tell(error.message, true);
      return;
    }
    await page.refresh();
  });
}
