// The worksheet: questions with links to settings of the other parts. It prints as one page.

if (IN_PAGE) {
  PARTS.sheet = { settings: {}, isEmpty: () => false, open: () => {}, close: () => {} };
  document.querySelectorAll("#sheet li").forEach((item, k) => item.append(element("textarea", { rows: 2, ariaLabel: `Answer ${k + 1}` })));
  $("print").onclick = () => print();
}
