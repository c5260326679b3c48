function label(order) {
  const lines = [order.customer ? order.customer.name : 'Guest'];
  if (order.address) {
    lines.push(order.address.street);
    lines.push(order.address.zip + ' ' + order.address.city);
  } else {
    lines.push('(pick up in store)');
  }
  return lines.join('\n');
}

module.exports = { label };
