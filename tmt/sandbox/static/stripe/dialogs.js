// Stripe.js in miniature: frames, and the pages of the bank and the wallet in a dialog.
// @ts-check
let frameCount = 0;
function iframe(src, title, css) {
  const frame = Object.assign(document.createElement("iframe"), { src, title, name: `__privateStripeFrame${++frameCount}` });
  frame.style.cssText = `display: block; border: 0; ${css}`;
  return frame;
}
/** Show a page of the bank or the wallet in a modal dialog; resolves with its outcome, or "" when it is left (Escape). */
function dialogPage(url, title) {
  const size = "width: min(400px, calc(100% - 32px)); height: min(420px, calc(100% - 32px))";
  const css = `${size}; margin: max(16px, calc(50vh - 210px)) auto 0; border-radius: 12px; background: #fff`;
  const frame = iframe(url, title, css);
  const dialog = document.createElement("dialog");
  const full = "position: fixed; inset: 0; width: 100%; height: 100%; max-width: none; max-height: none; overflow: hidden";
  dialog.style.cssText = `${full}; margin: 0; padding: 0; border: 0; background: rgba(15, 23, 42, 0.6)`;
  dialog.setAttribute("aria-label", title);
  dialog.append(frame);
  document.body.append(dialog);
  return new Promise((resolve) => {
    const isOurs = ({ source, origin }) => source === frame.contentWindow && origin === root.origin;
    const onMessage = (event) => isOurs(event) && dialog.close(event.data);
    addEventListener("message", onMessage);
    dialog.addEventListener("close", () => {
      removeEventListener("message", onMessage);
      dialog.remove();
      resolve(dialog.returnValue);
    });
    frame.addEventListener("load", () => frame.focus(), { once: true });
    dialog.showModal();
  });
}

/** 3-D Secure. Leaving it refuses the payment, so that nothing stays undecided. */
async function authenticate(source, locale) {
  const url = page(`three-ds-2-challenge/${source}`, locale);
  if (await dialogPage(url, localized(locale, "Card authentication", "Autenticación de tu tarjeta"))) return;
  await fetch(page(`3ds/${source}`, locale), { method: "POST", body: new URLSearchParams({ outcome: "fail" }) }).catch(() => null);
}
