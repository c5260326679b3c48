const assert = require('assert');
const { label } = require('../src/label');

const address = { street: 'Hill Rd 1', zip: '1234', city: 'Oslo' };

assert.strictEqual(label({ customer: { name: 'Ada' }, address }), 'Ada\nHill Rd 1\n1234 Oslo');
assert.strictEqual(label({ address }), 'Guest\nHill Rd 1\n1234 Oslo');
assert.strictEqual(label({ customer: { name: 'Bo' } }), 'Bo\n(pick up in store)');
console.log('ok');
