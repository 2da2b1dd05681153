//@ fail M_THERE
