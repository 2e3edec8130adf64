"""What a bundle makes of images, as pages of HTML that ask no network for anything."""
