function last(values) {
  return values[values.length - 1];
}

function unique(values) {
  return [...new Set(values)];
}

module.exports = { last, unique };
