function shout(text) {
  return text.toUpperCase() + '!';
}

function isBlank(text) {
  return text.trim() === '';
}

module.exports = { shout, isBlank };
