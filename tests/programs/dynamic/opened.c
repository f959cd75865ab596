// The library that the program opens: a loop that gets hot, and thread-local storage of another library.
extern __thread int local;

long sum(int count)
{
    long total = 0;
    for (int i = 0; i < count; i++)
        total += i ^ local;
    local = 100;
    return total;
}
