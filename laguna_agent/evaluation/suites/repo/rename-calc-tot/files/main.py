from shop import basket, shipping

LINES = [(2, 5), (1, 2.5)]

print("total", basket.calc_tot(LINES))
print("with shipping", shipping.shipped(LINES))
