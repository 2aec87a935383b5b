"""
The peers: each client in a process of its own, driven by the same few operations.

An operation comes as one line of JSON, `{"do": "put", …}`, and one line goes back:
`{"answer": …}`, or `{"error": "…"}` with the client's own words. What does not exist is
answered with null. Bytes are not sent along: `put` is given a file, `get` answers with size
and SHA-256.

    create, update   bucket, description, ttl, max_bytes, storage, compression, metadata
    bind             bucket                                    -> true
    status           bucket                                    -> the fields of create
    put              bucket, name, file, chunk_size, description, headers, metadata
    get              bucket, name                              -> [size, SHA-256 in hex]
    info             bucket, name                              -> name, size, description,
                                                                  headers, metadata, link
    update_meta      bucket, name, new_name, description
    delete           bucket, name
    link             bucket, name, to_bucket, to_name
    link_bucket      bucket, name, to_bucket
    list             bucket                                    -> sorted names
    watch            bucket, count                             -> the next [name, deleted]
    version                                                    -> of the client

What a client has no call for, its peer does not have either.
"""
