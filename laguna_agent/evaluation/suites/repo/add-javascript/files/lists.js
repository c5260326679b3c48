function last(values) {
  return values[values.length - 1];
}

module.exports = { last };
