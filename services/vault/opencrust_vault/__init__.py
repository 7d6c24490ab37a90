"""The vault: credentials encrypted at rest, handed out sealed, on the record.

One file holds every credential of the house (`docs/vault-format.md` is its specification):

    unlock key (a *slot*) -> root key -> keyring of KEKs -> one DEK per secret version -> value

A slot is one way to unlock: a key file, a passphrase, a recovery key, or a transit key in OpenBao. All of
them wrap the same root key, so changing a passphrase rewrites one slot and nothing else.

The rooms, from the inside out. Each uses only the ones above it.

    envelope        AES-256-GCM with key commitment; what "sealed" means everywhere
    slots           unlock keys, Argon2id, the recovery key, and the bounds that a file may ask for
    document        the bytes of the file: parse strictly, write canonically; no I/O
    files           atomic writes, the lock, the refusal of loose modes and symlinks; no cryptography
    anchor          what remembers the newest generation, against rolling the file back
    store           `FileStore`: an open vault. get, put, rotate, rekey
    backend         the protocol that `FileStore` and `openbao` answer
    policy          who may read what, for what purpose, how often; deny by default
    audit           the hash-chained record of every lease, denial and change
    certificates, replay, rate, leases, handout
                    a request's way: bytes in, identity, freshness, policy, sealed and signed bytes out
    administration  what a person may do to an open vault, as named operations; never returns a value
    admin_socket    the same operations over a unix socket, for the `opencrust vault` command
    hygiene         keep keys out of core dumps, of other processes and of swap
    service         wiring: the bus on one side, the rooms above on the other

Nothing here writes a credential to a log, an exception, a repr or an unsealed message.
"""
