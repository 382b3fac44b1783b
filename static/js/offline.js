// Says when there is no connection, and holds back what would only lead to the browser's own error
// page and lose what was typed.
// @ts-check

const notice = document.getElementById("offline");

function show() {
  if (notice) notice.hidden = navigator.onLine;
}

/** @param {Event} event */
function holdBack(event) {
  if (navigator.onLine || !notice) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  show();
  notice.focus();
}

document.addEventListener("submit", holdBack, true);
document.addEventListener(
  "click",
  (event) => {
    if (event.target instanceof Element && event.target.closest("a.button")) holdBack(event);
  },
  true,
);
addEventListener("online", show);
addEventListener("offline", show);
show();
