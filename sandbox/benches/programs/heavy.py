def total(n):
    t = 0
    for i in range(n):
        t += i
    return t


print(total(2_000_000))
