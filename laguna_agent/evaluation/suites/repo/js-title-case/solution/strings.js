function shout(text) {
  return text.toUpperCase() + '!';
}

function isBlank(text) {
  return text.trim() === '';
}

function titleCase(text) {
  return text
    .split(' ')
    .map((word) => word.charAt(0).toUpperCase() + word.slice(1).toLowerCase())
    .join(' ');
}

module.exports = { shout, isBlank, titleCase };
