from opencrust_cli.supervisor_disk import PAUSE, ROOM, FullDisk

REFUSED = b"[ERR] JetStream failed to store a msg: write 1.blk: no space left on device"


def test_a_full_disk_is_over_once_when_there_is_room() -> None:
    free = [0]
    disk = FullDisk(lambda: free[0])
    disk.heard(b"[INF] Server is ready")
    free[0] = ROOM
    assert not disk.over(1.0)  # it never was full
    free[0] = 0
    disk.heard(REFUSED)
    assert not disk.over(2.0)
    free[0] = ROOM
    assert disk.over(3.0)
    assert not disk.over(4.0)


def test_a_disk_that_fills_up_again_is_tried_with_pauses() -> None:
    disk = FullDisk(lambda: ROOM)
    disk.heard(REFUSED)
    assert disk.over(1.0)
    disk.heard(REFUSED)
    assert not disk.over(2.0)
    assert disk.over(1.0 + PAUSE)
