// Text for the address label of an order.
function label(order) {
  const lines = [order.customer.name];
  lines.push(order.address.street);
  lines.push(order.address.zip + ' ' + order.address.city);
  return lines.join('\n');
}

module.exports = { label };
