def is_prime(number):
    if number < 2:
        return False
    for divisor in range(2, number):
        if number % divisor == 0:
            return False
    return True


def count(limit):
    return sum(is_prime(number) for number in range(limit))


if __name__ == "__main__":
    print(count(200000))
