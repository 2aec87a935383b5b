"""
The clients that are compared, with the same operations.

An operation is a method that is given the name of an object, or a list of names; what else
it needs is in `self.job`. It returns its own time in seconds if that is not all of it.

    put_memory, put_bytes, put_file, put_pipe      of `job.size` bytes
    get_null, get_bytes, get_file, get_pipe
    get_range                                      64 KiB from somewhere
    first_byte                                     until there is one
    put_many, get_many                             names
    info, delete
    list, iterate                                  the bucket, as a whole and name by name
    import_, connect

What a client cannot do it does not have.
"""
