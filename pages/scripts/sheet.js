// The worksheet: questions with links to settings of the other parts. It prints as one page.

if (IN_PAGE) {
  PARTS.sheet = { settings: {}, isEmpty: () => false, open: () => {}, close: () => {} };
  $("print").onclick = () => print();
}
