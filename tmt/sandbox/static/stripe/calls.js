// Stripe.js in miniature: the global `Stripe`, with the calls and results of Stripe's own script, against whose types
// it is checked. It is served as one script, made of the parts that `_SCRIPT_PARTS` in pages.py lists, inside of one
// function. It styles only its own nodes, through element.style, so that a page with a strict Content-Security-Policy
// can use it. Card data never passes through it: what is typed in a frame goes from there to the sandbox's API.
// This part: errors for the developer, languages, and the calls of the API.
// @ts-check
const root = new URL(".", /** @type {HTMLScriptElement} */ (document.currentScript).src);
const SECRET = /^((pi|seti)_\w+)_secret_\w+$/;

class IntegrationError extends Error { name = "IntegrationError"; }
/** @type {(condition: any, message: string) => asserts condition} */
function check(condition, message) { if (!condition) throw new IntegrationError(message); }
const requestedLocale = (locale) => (!locale || locale === "auto" ? navigator.language : locale).toLowerCase();
const language = (locale) => (requestedLocale(locale).startsWith("es") ? "es" : "en");
const page = (path, locale, more = "") => new URL(`${path}?locale=${language(locale)}${more}`, root);
const localized = (locale, english, spanish) => (language(locale) === "es" ? spanish : english);

/** What buyers read instead of the API's messages, by language. @type {Record<string, Promise<any>>} */
const texts = {};
const load = (name) => fetch(new URL(`texts/${name}`, root)).then((answer) => answer.json()).catch(() => ({}));
const textsIn = (locale) => (texts[language(locale)] ||= load(language(locale)));
async function translated(error, locale) {
  const translations = await textsIn(locale);
  return { ...error, message: translations[error.decline_code] || translations[error.code] || translations[error.type] || error.message };
}
function encode(value, name, into) {
  if (value === undefined || value === null) return into;
  if (typeof value !== "object") into.append(name, String(value));
  else for (const [key, part] of Object.entries(value)) encode(part, name ? `${name}[${key}]` : key, into);
  return into;
}

/**
 * One call of the API: a POST with `params`, a GET without. Resolves with {[target.result]: object} or {error}.
 * @param {{ key: string, locale?: string }} caller
 * @param {{ path: string, result: string, secret?: string }} target
 * @returns {Promise<any>}
 */
async function call({ key, locale }, { path, result, secret }, params) {
  const headers = { Authorization: `Bearer ${key}`, ...(secret && { "Client-Secret": secret }) };
  const body = params && encode(params, "", new URLSearchParams());
  try {
    const answer = await fetch(new URL(`v1/${path}`, root), { method: body ? "POST" : "GET", headers, body });
    const content = await answer.json();
    return content.error ? { error: await translated(content.error, locale) } : { [result]: content };
  } catch (problem) {
    const message = "We could not connect. Check your connection and try again.";
    return { error: await translated({ type: "api_connection_error", message }, locale) };
  }
}
/** The target of calls about the intent with this client secret. */
function intentTarget(secret, action = "") {
  const [, id, kind] = SECRET.exec(secret || "") || [];
  check(id, "Invalid value for clientSecret: it should look like pi_…_secret_… or seti_…_secret_….");
  const path = `${kind === "seti" ? "setup" : "payment"}_intents/${id}${action}`;
  return { path, secret, result: kind === "seti" ? "setupIntent" : "paymentIntent" };
}
const confirmTarget = (secret) => intentTarget(secret, "/confirm");
/** Reads an intent. @returns {Promise<IntentResult>} */
const readIntent = (caller, secret) => call(caller, intentTarget(secret), undefined);
const intentOf = (result) => result.paymentIntent || result.setupIntent;
