// Once the pictures are there; one that cannot be decoded stays grey.
Promise.allSettled(sheets.map(sheet => sheet.decode())).then(() => {
  if (typeof data.map !== "string") showMap(data.map);
  if (typeof data.confusions !== "string") showConfusions(data.confusions);
  if (typeof data.suspects !== "string") showSuspects(data.suspects.listed);
  if (data.unknown.known.length + data.unknown.others.length) showUnknown(data.unknown);
  document.body.dataset.ready = "yes";
});
