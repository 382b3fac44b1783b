// The page of the bank or the wallet inside a dialog: answers without leaving it, then sends the outcome to the page.
if (parent !== window) {
  const form = document.querySelector("form");
  const [complete, fail] = form.querySelectorAll("button");
  const answer = async (outcome) => {
    complete.disabled = fail.disabled = true;
    const body = new URLSearchParams({ outcome });
    if (form.method === "post") await fetch(location.pathname, { method: "POST", body }).catch(() => null);
    parent.postMessage(outcome, "*");
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    answer(event.submitter.value);
  });
  addEventListener("keydown", (event) => event.key === "Escape" && answer("fail"));
  addEventListener("focus", () => document.activeElement === document.body && complete.focus());
  complete.focus();
}
