// Switches the language of the pay page where it stands, so that nothing typed into the payment form
// is lost. Elsewhere, and when anything goes wrong, the link does what links do.
// @ts-check

// What is put in anew, in the order of the page.
const PARTS = [
  ".skip", "header.top", "#offline", ".flashes[role=status]", ".pay-head", ".pay-summary", "#hold-title", ".pay-work > .note", ".hold-more", "#payment-title",
  ".cards-help", "#payment-loading", "#payment-reload button", ".seller", ".secure", ".give-up", ".foot",
];

/** The form for another address, in which something may have been typed. */
function emailChange() {
  const box = document.getElementById("email-change");
  const input = box && box.querySelector("[name=email]");
  const isForm = box instanceof HTMLDetailsElement && input instanceof HTMLInputElement;
  return isForm ? { box, input } : null;
}

/** @param {string} url */
async function switchTo(url) {
  const answer = await fetch(url);
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const old = document.getElementById("payment-form");
  const form = fresh.getElementById("payment-form");
  if (!answer.ok || !old || !form) throw new Error("the page is another one now");
  const email = emailChange();
  for (const part of PARTS) {
    const from = fresh.querySelector(part);
    const to = document.querySelector(part);
    if (from && to) to.innerHTML = from.innerHTML;
  }
  const freshEmail = emailChange();
  if (email && freshEmail) {
    freshEmail.box.open = email.box.open;
    freshEmail.input.value = email.input.value;
  }
  Object.assign(old.dataset, form.dataset);
  const hold = document.getElementById("hold");
  const freshHold = fresh.getElementById("hold");
  if (hold && freshHold) {
    const { warning = "", expired = "", extended = "", refused = "", failed = "" } = freshHold.dataset;
    Object.assign(hold.dataset, { warning, expired, extended, refused, failed });
  }
  document.title = fresh.title;
  document.documentElement.lang = fresh.documentElement.lang;
  document.dispatchEvent(new CustomEvent("tmt:language"));
  const current = document.querySelector('.languages [aria-current="true"]');
  if (current instanceof HTMLElement) current.focus();
}

document.addEventListener("click", (event) => {
  const link = event.target instanceof Element && event.target.closest(".languages a");
  if (!(link instanceof HTMLAnchorElement) || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  switchTo(link.href).catch(() => location.assign(link.href));
});
