import model
from service import create


def main():
    user = create(" Ada ")
    assert isinstance(user, model.User)
    print(user.greet())


if __name__ == "__main__":
    main()
