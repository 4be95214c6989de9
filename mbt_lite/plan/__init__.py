"""Will it fit? What each phase of each stage needs in memory, before anything is loaded; and the same measured."""
