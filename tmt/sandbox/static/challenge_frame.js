// The frame around the page of the bank, as Stripe has one: hands the outcome and the focus on.
const frame = document.querySelector("iframe");
addEventListener("message", ({ source, data }) => source === frame.contentWindow && parent.postMessage(data, "*"));
// Once the change of focus that is under way has happened.
addEventListener("focus", () => setTimeout(() => frame.focus()));
frame.addEventListener("load", () => document.hasFocus() && frame.focus());
