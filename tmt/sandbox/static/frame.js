// What every element's frame does: exchange messages with the page that contains it, and apply its appearance.
let port = null;
const rules = new CSSStyleSheet();
document.adoptedStyleSheets = [rules];

/** Send an event to the page. */
export const emit = (event, detail = {}) => port?.postMessage({ event, detail });

/** Serve the page's requests with these operations, which get the request and its ports; `update` also gets the first message. */
export function listen(operations) {
  const body = document.querySelector("form");
  const update = (data) => (data.appearance && applyAppearance(data.appearance), operations.update(data));
  const all = { blur: () => document.activeElement.blur(), ...operations, update };
  const toError = ({ message }) => ({ error: { type: "invalid_request_error", message } });
  const size = () => emit("resize", Math.ceil(body.getBoundingClientRect().height));
  addEventListener("message", ({ source, data: first, ports }) => {
    if (port || source !== parent || first?.type !== "sandbox:init") return;
    port = ports[0];
    port.onmessage = async ({ data, ports: lent }) => {
      const result = await Promise.resolve(data).then((about) => all[data.operation](about, lent)).catch(toError);
      port.postMessage({ id: data.id, result });
    };
    update(first);
    new ResizeObserver(size).observe(body);
    size();
    emit("ready");
  });
  body.addEventListener("submit", (event) => event.preventDefault());
  body.addEventListener("focusin", ({ relatedTarget }) => relatedTarget || emit("focus"));
  body.addEventListener("focusout", ({ relatedTarget }) => relatedTarget || emit("blur"));
  addEventListener("keydown", ({ key }) => key === "Escape" && emit("escape"));
}

// The appearance of Stripe.js: a theme, CSS variables, and rules for the classes of the page.
function applyAppearance({ theme = "stripe", variables = {}, rules: custom = {} }) {
  const { dataset, style } = document.documentElement;
  dataset.theme = theme;
  style.cssText = "";
  for (const [name, value] of Object.entries(variables)) style.setProperty(`--${name}`, String(value));
  applyRules(Object.entries(custom).filter(([selector]) => /^\.[A-Z]/.test(selector) && CSS.supports(`selector(${selector})`)));
}

/** Write CSS rules of the page's: pairs of a selector and its properties, whose names are those of scripts. */
export function applyRules(pairs) {
  rules.replaceSync("");
  for (const [selector, values] of pairs) {
    const rule = rules.cssRules[rules.insertRule(`${selector} {}`, rules.cssRules.length)];
    for (const [name, value] of Object.entries(values)) {
      if (typeof value !== "object") rule.style.setProperty(name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`), String(value));
    }
  }
}
