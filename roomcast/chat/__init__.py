"""`roomcast chat`: a terminal client that uses nothing but the public contract."""
