"""Places panels on a grid of 24 columns, from left to right, as a reader reads: rows never overlap because nobody counts by hand."""

COLUMNS = 24


class Grid:
    """Hands out places; a panel that does not fit into the row begins the next one."""

    def __init__(self):
        self.x = self.y = self.row = 0

    def place(self, width: int, height: int) -> dict:
        if self.x + width > COLUMNS:
            self.new_row()
        place = {"x": self.x, "y": self.y, "w": width, "h": height}
        self.x += width
        self.row = max(self.row, height)
        return place

    def new_row(self) -> None:
        self.x, self.y, self.row = 0, self.y + self.row, 0
