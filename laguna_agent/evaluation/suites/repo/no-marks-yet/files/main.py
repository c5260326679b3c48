from grades import average, grade

CLASS = {"Ines": [95, 91], "Tom": [70, 75, 72], "Uma": []}

for name, marks in CLASS.items():
    print(f"{name}: {average(marks):.1f} {grade(marks)}")
