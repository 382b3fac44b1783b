// The 3-D Secure challenge inside its frame: answers without leaving, then tells the page around.
(() => {
  "use strict";
  if (parent === window) return;
  const form = document.querySelector("form");
  const [complete, fail] = form.querySelectorAll("button");
  const answer = async (outcome) => {
    complete.disabled = fail.disabled = true;
    await fetch(location.pathname, { method: "POST", body: new URLSearchParams({ outcome }) }).catch(() => null);
    parent.postMessage("3ds:over", "*");
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    answer(event.submitter.value);
  });
  addEventListener("keydown", (event) => event.key === "Escape" && answer("fail"));
  addEventListener("focus", () => document.activeElement === document.body && complete.focus());
  complete.focus();
})();
