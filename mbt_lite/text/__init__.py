"""Reading model text: answer normalisation, think and answer tags, paragraphs and sentences."""
