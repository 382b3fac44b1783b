// What every element's frame does: talks with the page that holds it, and wears its looks.
let port = null;
const rules = new CSSStyleSheet();
document.adoptedStyleSheets = [rules];

/** Tell the page around that something happened. */
export const tell = (event, detail = {}) => port?.postMessage({ event, detail });

/** Serve the page's requests with these operations; `update` gets the first one too. */
export function listen(operations) {
  const body = document.querySelector("form");
  const update = (data) => (data.appearance && dress(data.appearance), operations.update(data));
  const all = { blur: () => document.activeElement.blur(), ...operations, update };
  const fault = ({ message }) => ({ error: { type: "invalid_request_error", message } });
  const size = () => tell("resize", Math.ceil(body.getBoundingClientRect().height));
  addEventListener("message", ({ source, data: first, ports }) => {
    if (port || source !== parent || first?.type !== "sandbox:init") return;
    port = ports[0];
    port.onmessage = async ({ data }) => {
      const result = await Promise.resolve(data).then(all[data.operation]).catch(fault);
      port.postMessage({ id: data.id, result });
    };
    update(first);
    new ResizeObserver(size).observe(body);
    size();
    tell("ready");
  });
  body.addEventListener("submit", (event) => event.preventDefault());
  body.addEventListener("focusin", ({ relatedTarget }) => relatedTarget || tell("focus"));
  body.addEventListener("focusout", ({ relatedTarget }) => relatedTarget || tell("blur"));
  addEventListener("keydown", ({ key }) => key === "Escape" && tell("escape"));
}

// The appearance of Stripe.js: a theme, CSS variables, and rules for the classes of the page.
function dress({ theme = "stripe", variables = {}, rules: given = {} }) {
  const { dataset, style } = document.documentElement;
  dataset.theme = theme;
  style.cssText = "";
  for (const [name, value] of Object.entries(variables)) style.setProperty(`--${name}`, String(value));
  rules.replaceSync("");
  for (const [selector, values] of Object.entries(given)) {
    if (!/^\.[A-Z]/.test(selector) || !CSS.supports(`selector(${selector})`)) continue;
    const rule = rules.cssRules[rules.insertRule(`${selector} {}`, rules.cssRules.length)];
    for (const [name, value] of Object.entries(values)) {
      rule.style.setProperty(name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`), String(value));
    }
  }
}
