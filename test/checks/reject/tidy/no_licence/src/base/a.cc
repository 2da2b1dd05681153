// a: a file without a licence line in it.
int a;
