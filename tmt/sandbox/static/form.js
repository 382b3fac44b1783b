// What the frames with fields share: problems are shown where they are, and a call is made with what was typed.
import { field, problem } from "./fields.js";

export const form = document.querySelector("form");
export const { texts } = JSON.parse(form.dataset.facts);
export const inputs = [...form.querySelectorAll("input[type=text]")];
export const place = (id) => document.getElementById(id);
/** Whether something was typed in one of these fields. */
export const typedIn = (names) => inputs.some(({ dataset, value }) => names.includes(dataset.field) && value);

/** Show what is wrong with a field, or that nothing is. */
export function show(name, text = texts[problem(name)] || "") {
  if (place(`${name}-error`)) place(`${name}-error`).textContent = text;
  field[name].setAttribute("aria-invalid", String(Boolean(text)));
  field[name].classList.toggle("Input--invalid", Boolean(text));
}

/** What Stripe calls a validation_error. */
export const validationError = (code) => ({ type: "validation_error", code, message: texts[code] });

/** Show every problem, move to the first one, and return {error} for it, or null. */
export function validate(names, moves = true) {
  for (const name of names) show(name);
  const wrong = names.find(problem);
  if (!wrong) return null;
  if (moves) field[wrong].focus();
  return { error: validationError(problem(wrong)) };
}

/**
 * Make the call of a request of the page's. `typed` gets the method's parameters of the page, and returns those of what
 * was typed; all of them become `into` of the request's parameters, or all of these.
 */
export async function send({ caller, target, params, into }, typed) {
  const method = (into ? params[into] : params) || {};
  const completed = { ...method, ...typed(method) };
  for (const input of inputs) input.readOnly = true;
  const result = await Stripe._call(caller, target, into ? { ...params, [into]: completed } : completed);
  for (const input of inputs) input.readOnly = false;
  return result;
}
