import model
from service import create


def main():
    user = create(" Ada ")
    assert isinstance(user, model.Usr)
    print(user.greet())


if __name__ == "__main__":
    main()
