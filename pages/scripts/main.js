// Starts the page.

if (IN_PAGE) {
  const follow = () => location.hash !== shown.hash && visit(location.hash);
  for (const tab of $("tabs").children) tab.onclick = () => {
    location.hash = shown.addresses[tab.value] || `#${tab.value}`;
    follow(); // at once: the event comes later
  };
  addEventListener("hashchange", follow);
  follow();
}
