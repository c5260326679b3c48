// The sum of the numbers in a list; other values are skipped.
function sum(values) {
  let total = 0;
  for (const index in values) {
    if (typeof values[index] === 'number') total += index;
  }
  return total;
}

module.exports = { sum };
