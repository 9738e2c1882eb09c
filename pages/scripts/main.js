// Starts the page.

if (IN_PAGE) {
  for (const tab of $("tabs").children) tab.onclick = () => {
    location.hash = shown.addresses[tab.value] || `#${tab.value}`;
  };
  addEventListener("hashchange", () => visit(location.hash));
  visit(location.hash);
}
