// What was typed into a form is there again after the language was switched.
// @ts-check

const KEY = "draft";
const form = document.querySelector("form[data-draft]");

/** @param {HTMLFormElement} of */
function fields(of) {
  return Array.from(of.elements).filter(
    /** @returns {field is HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement} */
    (field) =>
      field instanceof HTMLTextAreaElement ||
      field instanceof HTMLSelectElement ||
      (field instanceof HTMLInputElement && field.type !== "hidden"),
  );
}

/** @param {HTMLFormElement} kept */
function save(kept) {
  const values = fields(kept).map((field) => [field.name, field.value]);
  const box = kept.closest("details");
  const open = box !== null && box.open;
  sessionStorage.setItem(KEY, JSON.stringify({ action: kept.action, values, open }));
}

/** @param {HTMLFormElement} kept */
function restore(kept) {
  const stored = sessionStorage.getItem(KEY);
  sessionStorage.removeItem(KEY);
  const { action = "", values = [], open = false } = stored ? JSON.parse(stored) : {};
  if (action !== kept.action) return;
  const box = kept.closest("details");
  if (box && open) box.open = true;
  // Numbers first: the fields for names on tickets come with them.
  for (const numbers of [true, false]) {
    /** @type {Map<string, number>} */
    const used = new Map();
    for (const [name, value] of values) {
      const nth = used.get(name) || 0;
      used.set(name, nth + 1);
      const field = fields(kept).filter((one) => one.name === name)[nth];
      if (field && value && (field.type === "number") === numbers) {
        field.value = value;
        field.dispatchEvent(new Event("input", { bubbles: true }));
      }
    }
  }
}

if (form instanceof HTMLFormElement) {
  try {
    restore(form);
  } catch (error) {
    // Storage is switched off, or holds what another page has put there.
  }
  document.addEventListener("click", (event) => {
    if (event.target instanceof Element && event.target.closest(".languages a")) save(form);
  });
}
