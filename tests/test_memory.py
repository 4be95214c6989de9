from mbt_lite.memory import peak_bytes

MIB = 2**20


def test_peak_bytes_never_falls_and_holds_what_was_held() -> None:
    before = peak_bytes()
    held = bytearray(b"x") * (64 * MIB)
    after = peak_bytes()
    del held
    assert 8 * MIB < before <= after < 2**39
    assert peak_bytes() >= after
