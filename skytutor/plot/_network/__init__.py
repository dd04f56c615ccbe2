"""How a network becomes a drawing, stage by stage.

1. `calls` and `recorder` run the module on the example, and record each call of a module and of a
   function of torch as a step of a `graph`. `modules` knows what to ask of a module, `operations`
   what the functions of torch do. `skytutor.plot.trace.trace` ends here.
2. `states` tells from shapes what each value is: a map, a picture, harmonics, numbers.
3. `merge` takes out, with `views`, what only shows data in another shape, and puts activations and
   small side paths into the labels of their neighbours.
4. `repeats` leaves of equal parts that follow each other only the first.
5. `rows` turns the graph into a plan: boxes, joints and states from top to bottom, where the data
   of each come from, how many weights it has. `columns` adds how far right a row stands, and the
   brackets.
6. `layout` gives everything its place, with `line_breaks` for the text.
7. `svg` writes the picture, `alt_text` the same plan in words.
"""
